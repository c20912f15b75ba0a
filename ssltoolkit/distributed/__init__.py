"""Training with several processes: who we are, collectives, layers that span processes, and starting them."""
