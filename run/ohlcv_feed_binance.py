from barfeed.cli import main
from barfeed.commands.run import run

main(run)
