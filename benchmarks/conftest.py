"""The benchmarks use the test bed."""

pytest_plugins = ["beds", "beds_vm", "viewer_bed"]
