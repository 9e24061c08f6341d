# The program writes it itself, so that it names what there is.
eval "$(waypost completions bash)"
