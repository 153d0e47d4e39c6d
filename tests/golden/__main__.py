"""Write the golden bytes of the newest version anew."""

from tests.golden import write

write()
