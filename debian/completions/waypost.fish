# The program writes it itself, so that it names what there is.
waypost completions fish | source
