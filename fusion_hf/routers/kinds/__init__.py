"""A file a router kind: a `RouterConfig`, a `Router`, and a line ``ROUTER = ThatClass``."""
