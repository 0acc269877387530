"""`python -m radiolucent`."""

from radiolucent.cli import main

main()
