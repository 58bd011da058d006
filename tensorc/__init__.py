"""tensorc: attention variants as index equations, compiled."""
