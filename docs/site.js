// What scrolls sideways can be reached with the keyboard.
document$.subscribe(() =>
  requestAnimationFrame(() => {
    for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      wide.tabIndex = 0;
    }
  }),
);

// The search is a dialog, and has a name.
document$.subscribe(() =>
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search"),
);
