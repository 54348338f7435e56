"""The benchmarks use the test bed."""

pytest_plugins = ["beds", "beds_vm", "beds_viewer"]
