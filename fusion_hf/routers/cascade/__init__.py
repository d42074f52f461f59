"""What the kind `cascade` is made of: chains of candidates, plans, and the answers that are compared."""
