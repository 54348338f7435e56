# `make` alone lists the targets. Every target does its own set-up; YES=1 lets it install Debian packages unasked.
PYTHON_VENV := .venv/bin/python
FAST := not slow and not e2e and not packaging and not vm and not desktop
export SSO_EXTENSION ?= yes

# Real logins need root. With sudo, nothing that root owns is left in the tree.
ifneq ($(shell id -u),0)
AS_ROOT := sudo env PATH="$$PATH" SSO_EXTENSION=$(SSO_EXTENSION) PYTHONDONTWRITEBYTECODE=1
NO_TRACE := -p no:cacheprovider
endif

.NOTPARALLEL:
.PHONY: help demo demo-vm test test-desktop test-long quick bench flame checklist house lint format pam clean setup-demo setup-test setup-bench

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: setup-demo  ## a ticket opens a login shell, all on this machine; without root or sudo as far as it goes
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) -s pam && .venv/bin/sso demo; \
	elif sudo -v 2>/dev/null; then $(MAKE) -s pam && $(AS_ROOT) .venv/bin/sso demo; \
	else .venv/bin/sso demo; fi

demo-vm: setup-test pam  ## a window on a real virtual machine, and alice is signed in there; DESKTOP=gnome for GNOME
	$(AS_ROOT) .venv/bin/sso demo --console $(if $(DESKTOP),$(DESKTOP),text)

# The virtual machines, and lint with the pure build, go beside the rest, with folders of their own.
test: setup-test pam  ## everything, on both builds
	@mkdir -p build; tmp=$$(mktemp -d); status=0; \
	$(AS_ROOT) $(PYTHON_VENV) -m pytest -q -m "vm and not desktop and not long" -p no:cacheprovider --basetemp="$$tmp/vm" \
	  > build/machines.log 2>&1 & machines=$$!; \
	{ pure=0; $(MAKE) --no-print-directory lint || pure=1; \
	  SSO_PURE=1 $(PYTHON_VENV) -m pytest -q -m "$(FAST)" --ignore=tests/project -p no:cacheprovider --basetemp="$$tmp/pure" || pure=1; \
	  exit $$pure; } > build/pure.log 2>&1 & pure=$$!; \
	$(AS_ROOT) $(PYTHON_VENV) -m pytest -q -m "not vm and not desktop and not long" $(NO_TRACE) || status=1; \
	wait $$pure || { status=1; cat build/pure.log; }; \
	wait $$machines || { status=1; cat build/machines.log; }; $(AS_ROOT) rm -rf "$$tmp"; \
	echo "lint, pure build, virtual machines:"; \
	grep -hE "^(All checks|Success|[0-9]+ (passed|failed))" build/pure.log build/machines.log; \
	exit $$status

test-desktop: setup-test pam  ## what takes longer in virtual machines: the film of GNOME
	$(AS_ROOT) $(PYTHON_VENV) -m pytest -q -m "desktop and not long" $(NO_TRACE)

test-long: setup-test pam  ## all that no other target runs: SIGKILL at each point in virtual machines, LightDM, GNOME in the viewer, each kernel
	$(AS_ROOT) $(PYTHON_VENV) -m pytest -q -m long $(NO_TRACE)

quick: setup-test lint  ## in under a minute: lint, types, the fast tests
	$(PYTHON_VENV) -m pytest -q -m "$(FAST)"

bench: setup-bench pam  ## one table of ratios beside the peers, measured in one run, and the gates
	$(AS_ROOT) $(PYTHON_VENV) benchmarks/run.py

flame: setup-bench pam  ## where the time of a login goes: a table and a flame graph in docs/
	$(AS_ROOT) $(PYTHON_VENV) benchmarks/flame.py --document

checklist: setup-test  ## every row of docs/checklist.md with its tests, and the rows that have none yet
	@$(PYTHON_VENV) scripts/checklist.py

house: setup-test  ## the rooms of the source with their arrows, sizes and words, and what does not hold
	@$(PYTHON_VENV) scripts/house.py

lint: setup-test  ## ruff and mypy
	$(PYTHON_VENV) -m ruff check .
	$(PYTHON_VENV) -m ruff format --check .
	$(PYTHON_VENV) -m mypy

format: setup-test  ## let ruff mend what it can
	$(PYTHON_VENV) -m ruff check --fix .
	$(PYTHON_VENV) -m ruff format .

pam: setup-demo
	@$(MAKE) --no-print-directory -C pam

setup-demo setup-test setup-bench:
	@scripts/setup $(@:setup-%=%)

clean:  ## forget builds and caches; .venv stays
	rm -rf build dist wheelhouse *.egg-info .venv/.console-sso
	rm -rf .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf src/sso/_framing.*.so
	find src mechs tests benchmarks examples scripts -name __pycache__ -prune -exec rm -rf {} +
	@if [ -f pam/Makefile ]; then $(MAKE) --no-print-directory -C pam clean; fi
