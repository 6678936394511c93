"""Published claims, one a file: lab/claims/cot_parity.py is `lab claim cot-parity`.

A file defines `claim(scale) -> Claim` (lab.verdicts.protocol); its docstring names the paper and
says which parts of the protocol are ours. Your own FILE.py with such a function is checked in the
same way: `lab.check_claim("./my_claim.py")`. Records of finished claims are in lab/claims/records/.
"""
