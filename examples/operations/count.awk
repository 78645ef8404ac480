$5 == species { n += 1 }
END { print species ": " n + 0 }
