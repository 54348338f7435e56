"""The guest: `sso-guest-agent`, its login drivers and its PAM socket."""
