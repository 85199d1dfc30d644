/** The library of the charts: a file of its own, because it is a third of the page and most visits open no chart. */
export { default } from "uplot";
