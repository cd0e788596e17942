"""The dispatcher: turns due rows into messages. `turn` is one look at one queue; the other modules are its parts."""
