"""The mechanisms that come with Console SSO; they use only its public interface, as any plug-in must."""
