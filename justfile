# CI runs `just check`. Install `just` from your system's packages, or as `rust-just` from PyPI.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Run everything on this machine, on http://127.0.0.1:9000
run *arguments:
    cargo run -p local -- {{arguments}}

# Run the checks that a change must pass
check:
    .ci/run

# Run only the tests
test *arguments:
    cargo test --workspace {{arguments}}

# Share one session among eight processes that are killed, for 1,600 renewals: one minute
sessions:
    RENEWALS_PER_PROCESS=200 cargo test -p postern-client --test client -- processes::

# Share one session among processes in Python, JavaScript and Rust that are killed: two minutes
sessions-of-languages:
    cargo build -p local
    cargo build -p postern-client --example worker
    cd clients/typescript && npm ci --ignore-scripts && npm run --silent build
    built="${CARGO_TARGET_DIR:-$PWD/target}/debug"; \
        POSTERN_FULL=1 POSTERN_PROGRAM="$built/postern-local" POSTERN_CLIENT_RUST="$built/examples/worker" \
        POSTERN_CLIENT_JS="$PWD/clients/typescript/dist/index.js" clients/python/check tests/test_session.py -k processes

# Let a process call an API for an hour, 50 times a second, with tokens that live for 30 seconds; the clock is not real
hour:
    POSTERN_TEST_REQUESTS_PER_SECOND=50 cargo test -p postern-client --test client -- hour::
    cd clients/typescript && npm ci --ignore-scripts && npx tsc -p tsconfig.test.json
    cd clients/typescript && POSTERN_TEST_REQUESTS_PER_SECOND=50 node --test build/test/hour.test.js

# Let a process and tasks of the Python package do the same, against the local program: twenty minutes each
hour-python:
    cargo build -p local
    POSTERN_FULL=1 POSTERN_PROGRAM="${CARGO_TARGET_DIR:-$PWD/target}/debug/postern-local" clients/python/check tests/test_hour.py

# Ask a list of 100,000 keys every question, and read all pages
lists:
    POSTERN_TEST_KEYS=100000 cargo test -p tests --test it -- lists_large:: --nocapture

# Format the code
format:
    cargo fmt --all
    cargo fmt --manifest-path e2e/people/rmcp/Cargo.toml

# Test the built functions under AWS's runtime interface emulator
e2e:
    e2e/run template
    e2e/run test

# Test with a real identity provider, MCP clients, libraries of workloads, and the portal in a real browser
people:
    e2e/run people

# Send requests made from docs/openapi.json to the local program: six minutes
api:
    e2e/run api

# Check the packages for Rust, TypeScript and Python, and the action, against the local program
clients:
    e2e/run clients

# Measure the release artifacts and update docs/performance.md
measure *arguments:
    e2e/run measure {{arguments}}

# Run only the store, for cargo lambda watch and sam local
store:
    cargo run -p local -- store --listen 127.0.0.1:8000

# Run every function in its own process under cargo-lambda, on http://127.0.0.1:9010
watch:
    local/watch

# Run every function in Docker with SAM, on http://127.0.0.1:3000
sam-local *arguments:
    local/sam-local {{arguments}}
