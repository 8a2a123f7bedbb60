// What scrolls sideways can be reached with the keyboard.
document$.subscribe(() =>
  requestAnimationFrame(() => {
    for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      wide.tabIndex = 0;
    }
  }),
);
