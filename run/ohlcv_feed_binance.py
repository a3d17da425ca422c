from barfeed.cli import main, run

main(run)
