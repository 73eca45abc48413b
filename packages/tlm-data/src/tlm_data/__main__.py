"""`python -m tlm_data` is `tlm-data`."""

from tlm_data.cli import main

main()
