"""Where other libraries own the training loop: callbacks and what they need to know about their hosts."""
