# `just check` is what CI runs. (`just` comes from your system, or as `rust-just` from PyPI.)

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

# The built functions under AWS's runtime interface emulator: the same answers as on a laptop
e2e:
    e2e/run template
    e2e/run test

# Sessions over a real identity provider, and the portal in a real browser, with screenshots
people:
    e2e/run people

# What the release artifacts take there, beside what others would write: docs/performance.md
measure *arguments:
    e2e/run measure {{arguments}}

# Only the store, for cargo lambda watch and sam local
store:
    cargo run -p local -- store --listen 127.0.0.1:8000

# Every function in a process of its own under cargo-lambda, on http://127.0.0.1:9010, over the store
watch:
    local/watch

# The same as `just watch` in Docker, as SAM does it, on http://127.0.0.1:3000
sam-local *arguments:
    local/sam-local {{arguments}}
