# What a contributor types, beside ./millrace. `make` lists it.
bin := .venv/bin
uv := $(or $(shell command -v uv),.tools/uv/bin/uv)
lock := $(uv) pip compile pyproject.toml --universal --python-version 3.11 --no-annotate --quiet

.DEFAULT_GOAL := help
.PHONY: help env lint format unit test generate lock hooks

help: ## List what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

env: ## Make the Python environment, if it is not there or not up to date
	@./millrace --version

lint: env ## Look at style, formatting, types and the storeys' imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

format: env ## Mend style and formatting where that can be done by itself
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

unit: ## Run the tests that need no server
	./millrace test --unit

test: ## Run all tests, on servers of their own
	./millrace test -q

generate: ## Write the documents that follow from the code
	./millrace generate

lock: env ## Lock the dependencies of pyproject.toml anew; what is locked stays unless it must move
	$(lock) --group dev -o requirements.txt
	$(lock) -o requirements-runtime.txt
	$(subst pyproject.toml,--group clients,$(lock)) -o tests/conformance/requirements.txt

hooks: env ## Have git lint before each commit
	$(uv) tool run pre-commit install
