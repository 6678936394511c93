"""ModelConfig: bad values, options that would be ignored, a user's own mixers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.config import ModelConfig
from tests.configurations import NEEDS, OTHER

LAYERS = {
    "gru": ("d_state", "expand", "d_conv", "feature", "kv_heads", "forget", "log_length", "gate")
}
IGNORED: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NEEDS if name != "embed"]
IGNORED += [(name, {"layers": "gru"}) for name in LAYERS["gru"]]
IGNORED += [(name, {"layers": "gru"}) for name in ("qk_norm", "score")]
IGNORED += [("max_positions", {"position": "none"})]
IGNORED += [(name, {"mlp_ratio": 0}) for name in ("mlp_act", "mlp_in", "experts")]


@pytest.mark.parametrize(("name", "others"), IGNORED)
def test_options_that_would_be_ignored_are_refused(name: str, others: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"model\.{name} = .* cannot be used"):
        ModelConfig(**{**others, name: OTHER[name]})


@pytest.mark.parametrize(
    "bad",
    [
        {"layers": "atention"},
        {"layers": "attention*x"},
        {"layers": "attention*0"},
        {"width": 0},
        {"heads": 3},
        {"position": "up"},
        {"gate_at": "G5", "gate": "headwise"},
        {"gate_at": "G5", "gate": "elementwise", "gate_shared": True},
        {"log_length": 1},
        {"log_length": 40, "score": "softplus"},
        {"qk_norm": True, "score": "softplus"},
        {"sharpen": 0.5, "score": "softplus"},
        {"score": "softplus", "position": "path"},
        {"score": "softplus", "width": 2, "heads": 2},
        {"kv_heads": 3, "heads": 4},
        {"experts_per_token": 5, "experts": 4},
        {"embed": "sinusoidal"},
        {"position": "rope", "width": 6, "heads": 2},
        {"dropout": 1.0},
        {"mlp_ratio": -1},
    ],
)
def test_bad_models_are_named(bad: dict[str, Any]) -> None:
    name = next(iter(bad))
    with pytest.raises(ValueError, match=rf"model\.{name} = .* cannot be used"):
        ModelConfig(**bad)


def test_a_users_own_mixer_is_stored_absolutely_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "mine.py")
    config = ModelConfig(layers="./mine.py*2, lstm")
    assert config.layers == f"{path}*2,lstm" and config.stack() == [path, path, "lstm"]
    assert ModelConfig(layers=config.layers) == config
    for layers, message in (("no.py", "there is no file no.py"), ("mine.py*x", "NAME is your own")):
        with pytest.raises(ValueError, match=rf"model\.layers = .* cannot be used: .*{message}"):
            ModelConfig(layers=layers)
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path / "a,b")
    Path("mine.py").write_text("")
    with pytest.raises(ValueError, match="has no comma and no star"):
        ModelConfig(layers="mine.py")


def test_a_users_own_mixer_may_read_every_option_of_a_mixer(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("")
    for options in ({"d_state": 8}, {"feature": 8}, {"qk_norm": True}, {"position": "rope"}):
        assert ModelConfig(layers=str(file), **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no layer is"):
            ModelConfig(layers="gru", **options)  # type: ignore[arg-type]


def test_layers_without_a_file_are_stored_as_they_are() -> None:
    assert ModelConfig(layers="mamba*2, attention").layers == "mamba*2, attention"
