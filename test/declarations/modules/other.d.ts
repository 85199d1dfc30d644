/** In place of every package: no public type needs one. */
export {};
