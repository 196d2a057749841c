"""What a run will need, before it begins: memory, time, disk, and what a finished run needed beside it."""
