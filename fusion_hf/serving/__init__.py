"""Fusion where the traffic is: an endpoint that routes, falls back and logs, and what learns from its log."""
