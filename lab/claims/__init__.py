"""Published claims: lab/claims/cot_parity.py is `lab claim cot-parity`; its function `claim(scale)`
describes the claim, and neither checks nor trains anything."""
