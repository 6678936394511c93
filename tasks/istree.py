"""Is this graph a tree? The input is an edge list; the thought is a depth-first search.

Row for the edges 5-1 4-0 4-2 5-3 2-1 (the worked figure of the paper, its nodes counted from 0):

    [BOS] 5 - 1 4 - 0 4 - 2 5 - 3 2 - 1 [EOS] | 0 4 2 1 5 3 5 1 2 4 0 [EOS] | [TRUE]
    prompt                                      thought                       answer

`trace = "tour"`: the Euler tour from node 0. Neighbours are visited in the order of the edge list,
a node is written again on the way back, and the tour stops when it meets a visited neighbour other
than the parent. n nodes always have n - 1 edges, so a graph is a tree unless the tour meets such a
neighbour or ends with fewer than 2n - 1 nodes. Without its thought this is the paper's vanilla row.
`trace = "retrieval"`: the same walk with a search for every fact. A visit of v reads

    v [STARTSEARCH] v ~ [ENDSEARCH] f      its father f ([FAILED]: it is the root)
    [STARTSEARCH] v - [ENDSEARCH] u        its first neighbour, or, back from its child p,
    [STARTSEARCH] v - p [ENDSEARCH] u      the one after p; the same again after u where u is f
    [STARTSEARCH] u ~ [ENDSEARCH] [FAILED] u ~ v    was u visited? No: note its father, go there

No neighbour left ([FAILED]): back to f. u has a father (or is the root): a cycle, the walk ends.
The token after [ENDSEARCH] has role TOOL; `tool` finds it in the text before. With
`replies = "random"` (ours, a control) it is a hash of the graph and of the number of the search
instead, one of the nodes or [FAILED], so that the tool tells nothing. All other tokens stay: walk,
queries and answer are those of the graph, and the model has to find them without the tool.

Source: 2402.18510 (RNNs are not Transformers (Yet)), section 4.2.2, appendix B and data code.
`two-hub`, the graph of the lower bound: n - 2 leaves, each on one of two hubs by a fair coin, and a
link between two leaves; a tree if these are on different hubs, so P(tree) = 1/2.

`random` is ours: a random recursive tree, or (half the rows) such a tree on n - 1 nodes with one
extra edge, and an isolated node, so a missing label reveals the answer. The code's other type has
the same trees, but in the other half every node except one has an edge to a random node (loops and
repeated edges drop out), and one edge is added; its label says whether all nodes are connected, so
about 1 in 11 rows at n = 8 have a cycle and are called trees. Ours too: marks that no row needs are
left out, and the number of node labels is an option, so that all lengths share a vocabulary.

`two-hub` has a weak cue, as in the paper: hubs of equal size are linked a little more often. A
guess from both hub sizes is right with probability of about 1/2 + 0.48 / (n - 3) (n = 16: 0.536,
32: 0.517); a guess from the count of one label with 1/2 + 1 / (n (n - 3)).

Held out: graphs, whatever the order of their edges. Shifting all labels modulo n gives a graph of
the same shape and changes the sum of all endpoints; the shift is the digit of tasks/_split.py. The
answer does not depend on it, so it stays a fair coin in both splits. Of about n / 2 (n even) or n
(n odd) shifts of a graph 1/16 are held out, and at least one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from tasks import Batch, Role, Task, left_align, refuse
from tasks._graphs import by_row, hold_out, orders, recursive, two_hub
from tasks._split import fingerprint
from tasks._walk import Walk, walk

_MARKS = "[BOS] - [EOS] [TRUE] [FALSE] [STARTSEARCH] [ENDSEARCH] ~ [FAILED]"
_BOS, _EDGE, _EOS, _TRUE, _FALSE, _SEARCH, _FOUND, _FATHER, _FAILED, _ZERO = range(10)

# All tokens that a visit of a retrieval trace may write: facts of tasks/_walk.py between marks.
_VISIT = (
    "node S node ~ F father S node - child F neighbour"
    " S node - neighbour F other S other ~ F above other ~ node"
)
_PLACES = _VISIT.split()


@dataclass(frozen=True)
class IsTree(Task):
    """`length` is the number of nodes, labelled from 0; 4 to `most`."""

    graph: Annotated[Literal["two-hub", "random"], "how the graph is drawn"] = "two-hub"
    trace: Annotated[Literal["tour", "retrieval"], "form of the thought"] = "tour"
    most: Annotated[int, "labels in the vocabulary, the most nodes of a graph, 4 to 1024"] = 64
    replies: Annotated[
        Literal["true", "random"], "of the tool in a retrieval trace: facts, or without any"
    ] = "true"
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.graph not in ("two-hub", "random"):
            raise refuse("graph", self.graph, "it is two-hub or random")
        if self.trace not in ("tour", "retrieval"):
            raise refuse("trace", self.trace, "it is tour or retrieval")
        if self.replies not in ("true", "random"):
            raise refuse("replies", self.replies, "it is true or random")
        if self.replies == "random" and self.trace != "retrieval":
            raise refuse(
                "replies", self.replies, f"it must be true: trace {self.trace} has no tool"
            )
        if not 4 <= self.most <= 1024:
            raise refuse("most", self.most, "from 4 to 1024 nodes")

    @property
    def words(self) -> tuple[str, ...]:
        return (*_MARKS.split(), *map(str, range(self.most)))

    @property
    def stop(self) -> tuple[int, ...]:
        return (_TRUE, _FALSE)

    def chance(self, length: int) -> float:
        return 0.5

    def no_shortcut(self, length: int) -> bool:
        return self.graph == "two-hub" and length >= 16

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        return frozenset(_edges(prompt))

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if not 4 <= length <= self.most:
            raise refuse("length", length, f"a number of nodes from 4 to most = {self.most}")
        draw = two_hub if self.graph == "two-hub" else recursive
        ends, tree = draw(rng, n, length)
        ends = hold_out(rng, by_row(ends, orders(rng, n, length - 1)), self.split == "test")
        ends[:, :, 0], ends[:, :, 1] = np.maximum(*ends.T).T, np.minimum(*ends.T).T
        trace, places = (_tour, 1) if self.trace == "tour" else (_retrieval, len(_PLACES))

        p = 3 * length - 1
        T = p + (2 * length - 1) * places + 2
        tokens, roles = np.empty((n, T), np.int16), np.empty((n, T), np.uint8)
        tokens[:, 0], tokens[:, 2 : p - 1 : 3], tokens[:, p - 1] = _BOS, _EDGE, _EOS
        tokens[:, 1 : p - 1 : 3], tokens[:, 3:p:3] = ends[:, :, 0] + _ZERO, ends[:, :, 1] + _ZERO
        tokens[:, T - 2], tokens[:, T - 1] = _EOS, np.where(tree, _TRUE, _FALSE)
        roles[:, :p], roles[:, T - 2], roles[:, T - 1] = Role.PROMPT, Role.THOUGHT, Role.ANSWER
        for start in range(0, n, 1024):  # so that the tables of a walk fit into the cache
            part = slice(start, start + 1024)
            tokens[part, p : T - 2], roles[part, p : T - 2] = trace(walk(ends[part]))
        if self.replies == "random":
            row, place = np.nonzero(roles == Role.TOOL)
            number = np.cumsum(roles == Role.TOOL, 1)[row, place]
            tokens[row, place] = _random_replies(tokens[:, :p], row, number)
        return left_align(tokens, roles)

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        edges = self._checked(prompt)
        father, stack, came_from, cycle = {_ZERO: _FAILED}, [_ZERO], _FAILED, False
        thought = []
        while stack and not cycle:
            v = stack[-1]
            f = father[v]
            after = [] if came_from == f else [came_from]
            u = _neighbour(edges, v, *after)
            visit = [v, _SEARCH, v, _FATHER, _FOUND, f]
            visit += [_SEARCH, v, _EDGE, *after, _FOUND, u]
            if u == f != _FAILED:
                u = _neighbour(edges, v, f)
                visit += [_SEARCH, v, _EDGE, f, _FOUND, u]
            came_from = v
            if u == _FAILED:
                stack.pop()
            elif u in father:
                visit += [_SEARCH, u, _FATHER, _FOUND, father[u]]
                cycle = True
            else:
                visit += [_SEARCH, u, _FATHER, _FOUND, _FAILED, u, _FATHER, v]
                father[u] = v
                stack.append(u)
            thought += [v] if self.trace == "tour" else visit
        if self.replies == "random":
            found = [i for i, token in enumerate(thought) if token == _FOUND]
            for number, i in enumerate(found, 1):
                thought[i + 1] = _random_reply(prompt, number)
        tree = not cycle and len(father) == len(edges) + 1
        return [*thought, _EOS], [_TRUE if tree else _FALSE]

    def _checked(self, prompt: Sequence[int]) -> list[tuple[int, int]]:
        """The edges of a prompt; ValueError if it is malformed."""
        edges = _edges(prompt)
        nodes = range(_ZERO, _ZERO + len(edges) + 1)
        text = [_BOS, *(token for u, v in edges for token in (u, _EDGE, v)), _EOS]
        right = all(u in nodes and v in nodes and u > v for u, v in edges)
        if list(prompt) != text or not right or len(set(edges)) < len(edges):
            raise refuse("prompt", list(prompt), "n - 1 edges of n nodes, the larger node first")
        return edges

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(_ZERO, _ZERO + length),)

    def picture(self, tokens: Sequence[int]) -> list[str]:
        """The neighbours of every node, in the order of the edges."""
        words = self.words
        edges = tokens[1 : list(tokens).index(_EOS)]
        near: dict[int, list[int]] = {}
        for u, v in zip(edges[::3], edges[2::3], strict=True):
            near.setdefault(u, []).append(v)
            near.setdefault(v, []).append(u)
        return [f"{words[v]}: {' '.join(words[u] for u in near[v])}" for v in sorted(near)]

    def tool(self, prefix: Sequence[int]) -> int | None:
        """The answer to the query that ends here, [FAILED] where the text before has none; with
        random replies anything."""
        if self.trace != "retrieval" or not len(prefix) or prefix[-1] != _FOUND:
            return None
        text = list(prefix)
        if _EOS not in text or _SEARCH not in text:
            return _FAILED
        if self.replies == "random":
            return _random_reply(text[: text.index(_EOS) + 1], text.count(_FOUND))
        query = text[len(text) - text[::-1].index(_SEARCH) : -1]
        if query[1:2] == [_EDGE] and len(query) < 4:
            return _neighbour(_edges(text[: text.index(_EOS) + 1]), query[0], *query[2:])
        if query[1:] == [_FATHER]:
            for a, b, c in zip(text, text[1:], text[2:], strict=False):
                if [a, b] == query and c >= _ZERO:
                    return c
        return _FAILED


def _edges(prompt: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(prompt[1:-1:3], prompt[3:-1:3], strict=True))


def _neighbour(edges: list[tuple[int, int]], v: int, after: int | None = None) -> int:
    """The other end of the first edge at v (after the edge to `after`, if given), or [FAILED]."""
    near = [b if a == v else a for a, b in edges if v in (a, b)]
    if after is not None:
        near = near[near.index(after) + 1 :] if after in near else []
    return near[0] if near else _FAILED


def _random_replies(prompts: np.ndarray, row: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Tokens int64 [m], a node or [FAILED]: the reply to search `number` [m], from 1, of row [m].
    prompts: tokens [n, p]."""
    nodes = (prompts.shape[1] + 1) // 3
    graph = (fingerprint(prompts) >> np.uint64(1)).astype(np.int64)
    drawn = fingerprint(np.stack([graph[row], number], 1)) % np.uint64(nodes + 1)
    return _FAILED + drawn.astype(np.int64)


def _random_reply(prompt: Sequence[int], number: int) -> int:
    return int(_random_replies(np.array([prompt]), np.array([0]), np.array([number]))[0])


def _tour(walked: Walk) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int16 and roles uint8 [n, T] of the thought without its last token."""
    nodes = walked.nodes().T
    return nodes + np.int16(_ZERO), np.uint8(Role.THOUGHT) * (nodes >= 0)


def _retrieval(walked: Walk) -> tuple[np.ndarray, np.ndarray]:
    """The same for retrieval: a visit has all tokens of _VISIT; those not needed have role PAD."""
    facts = walked.facts()
    node = walked.nodes()
    tokens_of = {name: (fact + np.int16(_ZERO)).T for name, fact in facts._asdict().items()}
    tokens_of["node"] = (node + np.int16(_ZERO)).T
    marks = {"S": _SEARCH, "F": _FOUND, "~": _FATHER, "-": _EDGE}
    tokens = np.empty((*tokens_of["node"].shape, len(_PLACES)), np.int16)
    for place, word in enumerate(_PLACES):
        tokens[:, :, place] = marks[word] if word in marks else tokens_of[word]

    back, twice = facts.child >= 0, (facts.neighbour == facts.father) & (facts.father >= 0)
    more = (facts.other >= 0) + facts.fresh.astype(np.int8)
    kind = 1 + back + 2 * twice + 4 * more  # 0: the walk is over
    roles = _visit_roles().take((kind * (node >= 0)).T, axis=0)
    n = len(tokens)
    return tokens.reshape(n, -1), roles.reshape(n, -1)


def _visit_roles() -> np.ndarray:
    """Roles uint8 [13, 26] of the tokens of _VISIT for every kind of visit; kind 0: none.

    back: returned from a child; twice: the father was found and skipped; more: 0 no neighbour is
    left, 1 one that was visited before, 2 a new one.
    """
    roles = np.full((13, len(_PLACES)), Role.THOUGHT, np.uint8)
    roles[:, 1:][:, [word == "F" for word in _PLACES[:-1]]] = Role.TOOL
    for kind in range(12):
        back, twice, more = kind % 2, kind // 2 % 2, kind // 4
        roles[1 + kind, 9] *= back
        roles[1 + kind, 12:18] *= twice
        roles[1 + kind, 18:23] *= more > 0
        roles[1 + kind, 23:] *= more > 1
    roles[0] = Role.PAD
    return roles
