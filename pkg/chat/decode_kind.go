package chat

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

const kindNames = "textMessage, postbackMessage, introMessage, fileMessage, locationMessage"

// decodeMessage reads the one kind of message that must stand in "message".
func decodeMessage(message value, p *Problems) Input {
	var in Input
	message.fields(func(key []byte, v value) {
		pointer, kind, check := bodyCheck(key)
		if check == nil {
			p.Add("/message/"+escapePointer(string(key)), "is no kind of message: send one of "+kindNames)
			return
		}
		if in.Kind != "" {
			p.Add(pointer, fmt.Sprintf("is a second kind of message beside %s: send one message a request", in.Kind))
			return
		}
		in = Input{Kind: kind, Body: json.RawMessage(v)}
		if v.object(pointer, p) {
			check(v, pointer, p)
		}
	})
	if in.Kind == "" && p.Err() == nil {
		p.Add("/message", "holds no message: send one of "+kindNames)
	}
	return in
}

// bodyCheck returns a kind's place and name, and what checks its body; nil for
// what is no kind.
func bodyCheck(key []byte) (pointer string, kind InputKind, check func(v value, pointer string, p *Problems)) {
	switch InputKind(key) {
	case InputText:
		return "/message/" + string(InputText), InputText, checkText
	case InputPostback:
		return "/message/" + string(InputPostback), InputPostback, checkPostback
	case InputIntro:
		return "/message/" + string(InputIntro), InputIntro, func(value, string, *Problems) {}
	case InputFile:
		return "/message/" + string(InputFile), InputFile, checkFile
	case InputLocation:
		return "/message/" + string(InputLocation), InputLocation, checkLocation
	default:
		return "", "", nil
	}
}

func checkText(v value, pointer string, p *Problems) {
	found := false
	v.fields(func(key []byte, v value) {
		if string(key) == "text" {
			found = true
			if !v.isText(1, MaxText) {
				v.text(pointer+"/text", 1, MaxText, p)
			}
		}
	})
	if !found {
		missing(found, pointer+"/text", "the user's text", p)
	}
}

func checkPostback(v value, pointer string, p *Problems) {
	found := false
	v.fields(func(key []byte, v value) {
		at := pointer + "/" + string(key)
		switch string(key) {
		case "title":
			found = true
			v.text(at, 1, MaxPostbackTitle, p)
		case "payload":
			v.text(at, 0, MaxPostbackPayload, p)
		case "nextDialogstateId":
			v.text(at, 0, MaxDialogstate, p)
		case "sessionDataToSet":
			decodePairs(v, at, p)
		}
	})
	missing(found, pointer+"/title", "the title of the button that the user chose", p)
}

// decodePairs reads [{key,value}].
func decodePairs(v value, pointer string, p *Problems) []KeyValue {
	if !v.want("[", "an array", pointer, p) {
		return nil
	}
	items := v.items()
	if len(items) > MaxSessionDataItems {
		p.Add(pointer, fmt.Sprintf("must have at most %d items, not %d", MaxSessionDataItems, len(items)))
		return nil
	}
	var pairs []KeyValue
	for i, item := range items {
		at := pointer + "/" + strconv.Itoa(i)
		if !item.object(at, p) {
			continue
		}
		pair := KeyValue{Value: json.RawMessage("null")}
		found := false
		item.fields(func(key []byte, v value) {
			switch string(key) {
			case "key":
				found = true
				pair.Key, _ = v.text(at+"/key", 1, MaxSessionDataKey, p)
			case "value":
				pair.Value = json.RawMessage(v)
			}
		})
		missing(found, at+"/key", "the variable's name", p)
		pairs = append(pairs, pair)
	}
	return pairs
}

func checkFile(v value, pointer string, p *Problems) {
	found := false
	pointer += "/urls"
	v.fields(func(key []byte, v value) {
		if string(key) != "urls" {
			return
		}
		found = true
		if !v.want("[", "an array", pointer, p) {
			return
		}
		items := v.items()
		if len(items) < 1 || len(items) > MaxFileURLs {
			p.Add(pointer, fmt.Sprintf("must have 1 to %d URLs, not %d", MaxFileURLs, len(items)))
			return
		}
		for i, item := range items {
			at := pointer + "/" + strconv.Itoa(i)
			if item.want(`"`, "a string", at, p) {
				checkURL(unquote(item), at, p)
			}
		}
	})
	missing(found, pointer, "the files' URLs", p)
}

func checkLocation(v value, pointer string, p *Problems) {
	lat, long := false, false
	v.fields(func(key []byte, v value) {
		switch string(key) {
		case "lat":
			lat = true
			v.number(pointer+"/lat", -90, 90, p)
		case "long":
			long = true
			v.number(pointer+"/long", -180, 180, p)
		}
	})
	missing(lat, pointer+"/lat", "the latitude in degrees", p)
	missing(long, pointer+"/long", "the longitude in degrees", p)
}

func missing(found bool, pointer, what string, p *Problems) {
	if !found {
		p.Add(pointer, "is missing: send "+what)
	}
}

// checkURL notes a problem unless s is an absolute http or https URL of at most
// MaxURL bytes.
func checkURL(s, pointer string, p *Problems) {
	if len(s) > MaxURL {
		p.Add(pointer, fmt.Sprintf("must have at most %d bytes, not %d", MaxURL, len(s)))
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		p.Add(pointer, "must be an absolute URL that starts with http:// or https://")
	}
}
