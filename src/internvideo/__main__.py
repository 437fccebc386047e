"""`python -m internvideo` is the `internvideo` command."""

from internvideo.cli import main

if __name__ == "__main__":
    main()
