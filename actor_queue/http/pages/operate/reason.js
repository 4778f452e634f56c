// Why an attempt failed, in the words of the page's language. Filters go by the service's own words.

import { inPortuguese } from "./words-doctor-pt.js";
import { currentLanguage } from "./words.js";

export const reasonOf = (reason) => (currentLanguage() === "pt" ? (inPortuguese(reason) ?? reason) : reason);
