"""Six tiny language models trained from scratch on miniatures of the 14 tasks, and the log of their answers."""
