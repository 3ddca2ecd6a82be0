"""`python -m gateway` is `jingxin`."""

from gateway.cli import main

main()
