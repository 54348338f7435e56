"""Login drivers that come along; others are installed under the entry-point group `sso.logins`."""
