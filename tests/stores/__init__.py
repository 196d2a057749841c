"""Servers of Google's and Azure's stores on this machine, each a process of its own."""
