# `just check` is what CI runs.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Everything on this machine, on http://127.0.0.1:9000
run *arguments:
    cargo run -p local -- {{arguments}}

# What has to pass before a change lands
check:
    .ci/run

# The tests alone
test *arguments:
    cargo test --workspace {{arguments}}

# Formats the code
format:
    cargo fmt --all

# Only the store, for cargo lambda watch and sam local
store:
    cargo run -p local -- store --listen 127.0.0.1:8000
