# The whole workflow. `just` alone lists it.

python := "python"

default:
    @just --list

# format, lint, types, layers, tests: green before every push
check: lint types layers test

# put the code into its form
format:
    ruff format
    ruff check --fix

lint:
    ruff format --check
    ruff check

types:
    mypy

layers:
    lint-imports

# all tests, two at a time; `just test tests/unit/store -k lock` for some
test *ARGS="-n 2":
    {{python}} -m pytest {{ARGS}}

# the quick ones
unit:
    {{python}} -m pytest tests/unit -n 2

# the environments with real frameworks that their tests run in
frameworks:
    uv venv -q --allow-existing --python {{python}} .venv-frameworks
    uv pip install -q --python .venv-frameworks/bin/python --index-strategy unsafe-best-match --find-links "$(pip config get global.find-links 2>/dev/null || echo .)" -r requirements-frameworks.txt
    uv venv -q --allow-existing --python {{python}} .venv-tensorflow
    uv pip install -q --python .venv-tensorflow/bin/python --index-strategy unsafe-best-match -r requirements-tensorflow.txt

# figures beside Guild AI and plain Python; see benchmarks/README.md
bench *ARGS:
    {{python}} benchmarks/run.py {{ARGS}}

# choose new versions of the development tools and the frameworks
lock:
    uv pip compile --python-version 3.11 --index-strategy unsafe-best-match --find-links "$(pip config get global.find-links 2>/dev/null || echo .)" --no-header --no-emit-index-url --no-emit-find-links --no-annotate -q requirements-frameworks.in -o requirements-frameworks.txt
    sed -i 's/+cpu//' requirements-frameworks.txt
    uv pip compile --python-version 3.11 --index-strategy unsafe-best-match --no-header --no-emit-index-url --no-annotate -q requirements-tensorflow.in -o requirements-tensorflow.txt
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate -q pyproject.toml requirements-dev.in -o requirements-dev.txt

# write the published JSON Schema of project files anew
schema:
    {{python}} -m reenact.project.file.schema > docs/reference/project-file.schema.json
