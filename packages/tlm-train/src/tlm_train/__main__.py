"""`python -m tlm_train` is `tlm-train`."""

from tlm_train.cli import main

main()
