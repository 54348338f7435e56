"""The client: `spice-client-sso`."""
