"""Scaling laws of a family of models: run a series of small ones, fit how the loss falls, predict a larger one."""
