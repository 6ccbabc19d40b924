# `make run` and `make test` set up .venv themselves, once. Needs make and Python >= 3.11 (another one: make run PYTHON=python3.12).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test check table report pack unpack named-results tune reproduce train parity bench bench-gpu test-slurm

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

run: .venv/.installed ## the main job: gradproj run, with what you add as ARGS="method=reno seeds=2"
	$(BIN)/gradproj run $(ARGS)

test: .venv/.installed ## the whole suite, on every core: make test ARGS="tests/test_spectrum.py"
	$(BIN)/python -m pytest -q -n logical --maxprocesses 8 --dist worksteal $(ARGS)

test-slurm: .venv/.installed ## sweeps on a Slurm of four nodes, started on this host: killed, pre-empted, timed out (3 to 6 minutes)
	$(BIN)/python -m pytest -q -rs tests/slurm/check_slurm.py $(ARGS)

check: .venv/.installed ## what a commit must pass: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(MAKE) test

table: .venv/.installed ## all records under results/ -> tables and plots beside them
	$(BIN)/gradproj table $(ARGS)

report: .venv/.installed ## the same, and report.html beside them: a page to open in a browser
	$(BIN)/gradproj report $(ARGS)

named-results:
	@test -n "$(RESULTS)" || { echo "say which runs: make pack RESULTS=results/miniature, or RESULTS=results/runs/<run id>"; exit 2; }

pack: named-results .venv/.installed ## finished runs' records into one file each: make pack RESULTS=results/miniature
	$(BIN)/gradproj pack $(RESULTS)

unpack: named-results .venv/.installed ## the reverse, byte for byte: make unpack RESULTS=results/miniature
	$(BIN)/gradproj pack --unpack $(RESULTS)

tune: .venv/.installed ## the recorded choice of learning rates and weights (results/miniature/tuning), resumable
	$(BIN)/python scripts/reproduce.py tune $(ARGS)

reproduce: .venv/.installed ## the miniature's committed results (results/miniature), resumable
	$(BIN)/python scripts/reproduce.py main $(ARGS)

parity: .venv/.installed ## our rewards beside the published code, on random weights, in its own environment (6 GB): ARGS="--full" "--write"
	$(BIN)/python scripts/parity.py $(ARGS)

bench: .venv/.installed ## the tables of docs/performance.md, in about twenty minutes on two quiet cores: ARGS="--only loop"
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench.py $(ARGS)

bench-gpu: .venv/.installed ## the published models on this GPU, random weights, no network, under ten minutes: results/full_size/gpu.md
	$(BIN)/python scripts/bench_gpu.py $(ARGS)

train: .venv/.installed ## rebuild the miniature's weights from a seed, resumable
	OMP_NUM_THREADS=2 $(BIN)/python scripts/train_miniature.py

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"gradproj needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
