"""`codeparrot verify`: the invariants of training, checked on this machine."""
