"""The mechanisms that come with Console SSO, built on its public interface as a stranger's would be."""
