#!/bin/sh
# land: rebase, lint, quick tests given as args, merge
git rebase main >/dev/null 2>&1 || { echo CONFLICT; git status --short | grep -E "^(UU|AA|U|.U)"; exit 1; }
.venv/bin/ruff check . -q && .venv/bin/mypy 2>&1 | tail -1 || exit 1
if [ $# -gt 0 ]; then .venv/bin/pytest -q -n 2 "$@" 2>&1 | tail -6; fi
flock /tmp/land.lock git -C /work/main merge --ff-only eims 2>&1 | tail -1
