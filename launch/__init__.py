"""Configurations for `accelerate launch`; the package contains them so that `codeparrot verify` works from a wheel."""
