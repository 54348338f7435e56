"""The ssh-agent's port in the guest."""
