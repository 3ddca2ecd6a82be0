"""The commands of `jingxin`, one module for each noun; `gateway.cli` puts them together."""
