"""Experiments: lab/experiments/parity.py is `lab run parity`; the parameters of its function
`experiment` are the options."""
