"""Configurations of `accelerate launch`; they are part of the package so that `codeparrot verify` works from a wheel."""
